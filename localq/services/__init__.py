"""One function per thing a user may ask for; both front ends call these and nothing below."""
