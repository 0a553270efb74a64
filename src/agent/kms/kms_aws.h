/*
 * kms_aws.h -- KEKs in AWS KMS.
 *
 * A KEK's URI is aws-kms://ARN, of a key and never of an alias; its versions are the ids of
 * its key material (64 hexadecimal digits; "" where the service does not tell them, as
 * Encrypt does not); wrapped DEKs are of the form PGE_WRAP_AWS.  Keys are made by
 * the account's administrators, never from here.  Named by kms_registry.c only.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#ifndef PGE_AGENT_KMS_AWS_H
#define PGE_AGENT_KMS_AWS_H

#include "agent/kms/kms.h"

extern const KmsProvider pge_kms_aws;

#endif							/* PGE_AGENT_KMS_AWS_H */
