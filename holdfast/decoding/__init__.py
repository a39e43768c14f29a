"""At inference: techniques that change the prompt or the logits of a model that is asked. One file per decoding."""
