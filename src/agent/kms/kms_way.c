/*-------------------------------------------------------------------------
 *
 * kms_way.c
 *	  The steps on the way to a key.
 *
 * SPDX-License-Identifier: PostgreSQL
 *-------------------------------------------------------------------------
 */
#include "agent/kms/kms.h"

KmsStep *
pge_kms_way_step(KmsWay *way, const char *name, int64_t us)
{
	/* more than there is room for are told as the last */
	KmsStep    *step = &way->steps[way->count < KMS_STEPS_MAX ? way->count++ : KMS_STEPS_MAX - 1];

	*step = (KmsStep)
	{
		.name = name, .status = PGE_OK, .us = us
	};
	return step;
}
