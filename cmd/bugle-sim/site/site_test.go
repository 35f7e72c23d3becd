package site

import "testing"

func TestReachable(t *testing.T) {
	for given, want := range map[string]string{
		"127.0.0.1:1": "127.0.0.1:1", "[::]:2": "127.0.0.1:2", "0.0.0.0:3": "127.0.0.1:3", ":4": "127.0.0.1:4",
		"[::1]:5": "[::1]:5", "bugle.example.com:6": "bugle.example.com:6",
	} {
		if got, err := reachable(given); err != nil || got != want {
			t.Errorf("%s is reached at %s (%v), want %s", given, got, err, want)
		}
	}
	if _, err := reachable("nonsense"); err == nil {
		t.Error("nonsense is an address")
	}
}
