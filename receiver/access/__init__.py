"""Bearer tokens: their names, and what each kind may do."""
