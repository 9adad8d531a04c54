"""Configuration files: get_config(argument) -> ConfigDict."""
