package authority

// ResultKeysAtHand is how many result keys need not be derived any more.
func (a *Authority) ResultKeysAtHand() int {
	a.results.mu.RLock()
	defer a.results.mu.RUnlock()
	return len(a.results.keys)
}
