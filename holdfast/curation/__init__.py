"""Before training: techniques that mix, select, rewrite or generate the examples. One file per curation."""
