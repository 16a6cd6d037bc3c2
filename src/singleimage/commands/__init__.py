"""The commands, by what they do. Everything heavy is imported inside them."""
