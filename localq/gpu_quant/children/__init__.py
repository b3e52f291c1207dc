"""Scripts for the Pythons of backends' environments. They import nothing of localq, and localq
imports nothing of them: it runs their files."""
