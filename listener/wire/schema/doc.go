// Package schema says what the parameters of a kind of task may be, and checks
// them. The site does before it signs a task; an agent does before it gives them
// to an administrator's own kind.
//
// A [Schema] is a subset of JSON Schema (2020-12), and reads and writes as one:
//
//	type                    object, array, string, integer, number, boolean
//	title, description      for people; default, examples are shown and not applied
//	enum                    of strings
//	properties, required    of an object; what is not named is refused
//	additionalProperties    false, which is also what holds without it
//	items                   of an array, and minItems, maxItems, uniqueItems
//	minLength, maxLength    of a string, in characters; and pattern (RE2), which the
//	                        whole string must match
//	minimum, maximum        of a number
//
// [Parse] takes nothing else: a keyword that is not known could be the one that
// mattered. Sizes and depths are bounded ([MaxText], [MaxDepth]); strings and
// arrays that name no maximum have one ([MaxString], [MaxItems]).
//
// [Schema.Check] answers with the first thing that does not hold and where it is
// ("paths[2]: is longer than 4096 characters").
package schema
