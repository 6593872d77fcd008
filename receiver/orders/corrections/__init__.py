"""What the shop corrects of an order: its reference, its metadata, its tracking, or that it is."""
