package auth

// Turns returns in how many lanes something happens, and how many attempts wait.
func (a *Auth) Turns() (lanes, waiting int) {
	a.turns.mu.Lock()
	defer a.turns.mu.Unlock()
	return len(a.turns.lanes), a.turns.waiting
}
