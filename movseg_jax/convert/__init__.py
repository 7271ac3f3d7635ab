"""Other people's weights: files read without running anything in them, and mapped."""
