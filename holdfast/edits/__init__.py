"""After training: edits of the difference between tuned models and their base. One file per edit."""
