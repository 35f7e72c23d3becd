#include "textflag.h"

// func prefetch(at, lines uintptr)
TEXT ·prefetch(SB), NOSPLIT|NOFRAME, $0-16
	MOVD at+0(FP), R0
	MOVD lines+8(FP), R1
	CBZ  R1, done
line:
	PRFM (R0), PLDL1KEEP
	ADD  $64, R0
	SUBS $1, R1
	BNE  line
done:
	RET
