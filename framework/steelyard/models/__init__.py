"""Plain `nn.Module`s, sized by the data."""
