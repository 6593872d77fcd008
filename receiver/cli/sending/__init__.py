"""`ordertrail send`: send a webhook as a courier would."""
