package peer

func shareFiles() error { return nil }
