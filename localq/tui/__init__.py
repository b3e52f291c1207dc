"""The terminal app. `localq.tui.app.run()` starts it; nothing else imports this package."""
