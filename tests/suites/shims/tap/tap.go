// Package tap prints the Test Anything Protocol for runtime-tools' programs, which look for it by the name of a
// library that no release of Debian has: the part of its interface that they use.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts the lines of one program.
type T struct {
	next *int
	todo bool
}

// New is where a program starts.
func New() *T {
	one := 1
	return &T{next: &one}
}

// Header opens the output; the plan follows when it is known.
func (t *T) Header(count int) {
	fmt.Println("TAP version 13")
	if count > 0 {
		fmt.Printf("1..%d\n", count)
	}
}

// AutoPlan is the plan of all that was printed.
func (t *T) AutoPlan() {
	fmt.Printf("1..%d\n", *t.next-1)
}

// Ok prints one line.
func (t *T) Ok(passed bool, description string) {
	not, directive := "", ""
	if !passed {
		not = "not "
	}
	if t.todo {
		directive = " # TODO"
	}
	fmt.Printf("%sok %d - %s%s\n", not, *t.next, description, directive)
	*t.next++
}

func (t *T) Pass(description string) { t.Ok(true, description) }
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip is so many lines of tests that were not made.
func (t *T) Skip(count int, description string) {
	for i := 0; i < count; i++ {
		fmt.Printf("ok %d # SKIP %s\n", *t.next, description)
		*t.next++
	}
}

// Todo prints lines whose failure is expected.
func (t *T) Todo() *T {
	return &T{next: t.next, todo: true}
}

func (t *T) Diagnostic(message string) {
	fmt.Println("# " + strings.ReplaceAll(message, "\n", "\n# "))
}

func (t *T) Diagnosticf(format string, a ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, a...))
}

// YAML prints a block of what is known about the line before.
func (t *T) YAML(message interface{}) error {
	text, err := json.MarshalIndent(message, "  ", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("  ---\n  %s\n  ...\n", text)
	return nil
}
