"""Field maps: read a courier's JSON by JMESPath expressions that stand in the settings.

The drivers `fields` and `shipmentapi` are made of these modules.
"""
