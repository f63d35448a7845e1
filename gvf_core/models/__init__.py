"""The networks of the method under their official names, their weights, and the image encoder."""
