"""The commands of `gvf`: a room for each, with the parser of its options and what it calls."""
