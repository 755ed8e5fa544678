"""What will run and when, and what keeps a job from running; read from facts."""
