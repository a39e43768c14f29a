"""After training: what is done to the difference between a tuned model and its base. One file per edit."""
