"""GLIP (arXiv 2112.03857): a dense head over a pyramid, fused with words."""
