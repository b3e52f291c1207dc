"""What is asked of the machine: hardware, plan, tune, bench."""
