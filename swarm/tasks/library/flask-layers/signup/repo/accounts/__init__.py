"""Sign-up, confirmation and sign-in."""
