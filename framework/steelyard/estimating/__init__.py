"""What a training would cost, from shapes alone: no weights, no step, no data but the shape of a batch."""
