"""Lists of orders by filters, downloads, the search, and the lists that belong to one order."""
