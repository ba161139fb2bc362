"""What runs training pods; one module for each kind of object."""
