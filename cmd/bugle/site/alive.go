package site

// Alive returns once the site has been asked what every act needs: the journal's
// head, the operations and the devices. A watchdog that calls it finds a site that
// is stuck.
func (s *Site) Alive() {
	s.journal.Head()
	s.authority.Blocked()
	s.readers.operation.Open()
}
