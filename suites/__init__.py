"""The qualification: one module a stage, in the order of the stages."""
