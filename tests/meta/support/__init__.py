"""What meta tests share: child sessions, sample records, sample reports."""
