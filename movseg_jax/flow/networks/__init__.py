"""Networks that estimate optical flow, with weights that users convert.

Nothing here is imported unless a network is asked for by its name.
"""
