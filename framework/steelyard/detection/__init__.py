"""What detection is made of: boxes, their assignment, the loss of a set of boxes, and average precision."""
