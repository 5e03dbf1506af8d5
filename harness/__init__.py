"""The library behind the qualification: typed, and ignorant of pytest."""
