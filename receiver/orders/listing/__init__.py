"""Lists of orders by filters, their downloads, and the lists that belong to one order."""
