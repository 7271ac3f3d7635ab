"""Flax Linen modules: backbones, feature pyramids, fusions and heads.

A module here is a pure function of its parameters: no mutable collections, no
randomness. Images are `[batch, height, width, channels]`, pyramids are `{level:
features}` with stride `2**level`.
"""
