package listener

import (
	"fmt"
	"testing"
	"time"
)

func TestBudgets(t *testing.T) {
	now := time.Now()
	b := newBudgets(10, 3)
	takes := func(address string) (n int) {
		for ok, _ := b.take(address, now); ok; ok, _ = b.take(address, now) {
			if n++; n > 1000 {
				t.Fatal("no end of it")
			}
		}
		return n
	}
	if n := takes("a"); n != 3+spareRate {
		t.Fatalf("%d connections at once", n)
	}
	if n := takes("b"); n != 3 {
		t.Fatalf("another address has %d when nothing is to spare", n)
	}
	if n := b.owing(now); n != 2 {
		t.Fatalf("%d addresses have nothing left", n)
	}
	b.give("b", now)
	if ok, fresh := b.take("b", now); !ok || fresh {
		t.Fatal("what was given back cannot be taken")
	}
	now = now.Add(100 * time.Millisecond)
	b.spare = budget{at: now}
	if n := takes("b"); n != 1 {
		t.Fatalf("%d grew in a tenth of a second", n)
	}
	b.punish("b", now)
	now = now.Add(300 * time.Millisecond) // it owes as much as it can have, at most
	b.spare = budget{at: now}
	if n := takes("b"); n != 0 {
		t.Fatalf("%d in spite of misbehaviour", n)
	}
	for range 1000 {
		b.punish("b", now)
	}
	now = now.Add(time.Second) // at most burst is owed
	b.spare = budget{at: now}
	if n := takes("b"); n != 3 {
		t.Fatalf("%d a second after the most that can be owed", n)
	}
}

// It is said once that an address has nothing left, and again only when it had.
func TestBudgetIsToldOnce(t *testing.T) {
	now := time.Now()
	b := newBudgets(1, 1)
	told := 0
	for range 3 * spareRate {
		if _, fresh := b.take("a", now); fresh {
			told++
		}
	}
	if told != 1 {
		t.Fatalf("told %d times", told)
	}
	now = now.Add(time.Hour)
	b.take("a", now)
	if _, fresh := b.take("a", now); !fresh {
		t.Fatal("not told again")
	}
}

func TestBudgetsAreBounded(t *testing.T) {
	now := time.Now()
	b := newBudgets(1, 2)
	for i := range 3 * maxBudgets {
		b.take(fmt.Sprint(i), now)
	}
	if n := len(b.of); n > maxBudgets+1 {
		t.Fatalf("%d budgets", n)
	}
	b.spare = budget{at: now}
	if ok, _ := b.take("late", now); ok {
		t.Fatal("addresses without a budget of their own share none")
	}
	now = now.Add(5 * time.Second)
	if ok, _ := b.take("later", now); !ok || len(b.of) != 1 {
		t.Fatalf("full budgets are not forgotten: %d", len(b.of))
	}
}
