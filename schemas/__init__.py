"""What goes over the wire: a struct for every event and its answer, the errors, the limits of fields."""
