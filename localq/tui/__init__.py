"""The terminal app. `localq.tui.start.run()` starts it; nothing else imports this package."""
