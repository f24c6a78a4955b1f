"""Bookings of several shops in one journal."""
