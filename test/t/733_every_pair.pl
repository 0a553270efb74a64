# rewrap_all from each provider to each other, and between two keys of one: local keyring, OpenBao,
# AWS KMS.  With keep_old a value outlives the service that its key was made under.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PgEnvelope::Moto;
use PgEnvelope::OpenBao;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $bao = PgEnvelope::OpenBao->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::OpenBao::why_not();
my $aws = PgEnvelope::Moto->new($dir) or plan skip_all => 'SKIP: ' . PgEnvelope::Moto::why_not();
$bao->ask(POST => "transit/keys/$_", { type => 'aes256-gcm96', derived => \1 }) for qw(vault1 vault2);
my $role = $bao->approle('db', $bao->least_policy(qw(vault1 vault2)));
my $user = $aws->user('db');
my %uri = (
	(map { $_ => 'vault://' . $bao->server . "/transit/keys/$_" } qw(vault1 vault2)),
	(map { $_ => 'aws-kms://' . $aws->key } qw(aws1 aws2)),
	far => 'aws-kms://' . $aws->key('us-east-2'));
# Sections by their names, with lines more for some.
sub services
{
	my (%more) = map { ($_ => '') } qw(corp near far);
	%more = (%more, @_);
	return $bao->section('corp', "$role->{lines}allow_keys = transit/keys/*\n$more{corp}") . $aws->section('near', $user, "allow_keys = arn:aws:kms:eu-west-1:*:key/*\n$more{near}")
	  . $aws->section('far', $user, "allow_keys = arn:aws:kms:us-east-2:*:key/*\n$more{far}", 'us-east-2');
}
PgEnvelope::Moto::write_file("$dir/kms.conf", services());
my $node = PgEnvelope::Cluster->new('pairs', 'pg_envelope.kms_config_file' => "$dir/kms.conf", 'pg_envelope.cache_ttl' => '1h');
my $admin = $node->session;
$admin->query('SET client_min_messages = error');
$admin->query("SELECT envelope_create_kek('$_')") for qw(local1 local2);
is($admin->query("SELECT envelope_create_kek('$_', '$uri{$_}')"), $uri{$_}, "$_ is a KEK") for sort keys %uri;
$admin->query(q{SELECT envelope_create_key('k' || n, 'local1') FROM generate_series(1, 3) n;
	CREATE TABLE kept AS SELECT 'k' || n AS key_id, envelope_encrypt('value ' || n, 'k' || n) AS sealed FROM generate_series(1, 3) n});

sub opened
{
	$admin->query('SELECT envelope_cache_flush()');
	return $admin->query('SELECT string_agg(envelope_decrypt(sealed, key_id), $$, $$ ORDER BY key_id) FROM kept');
}
my $all = 'value 1, value 2, value 3';
is(opened(), $all, 'three values of three keys');

# Each arrow between two of the six once: the circles of a complete graph.
my @keks = qw(local1 local2 vault1 vault2 aws1 aws2);
my $at = 'local1';
my %left = map { my $from = $_; map { ("$from $_" => 1) } grep { $_ ne $from } @keks } @keks;
while (%left)
{
	# (on where most arrows leave from, so that none is stranded)
	my ($to) = sort { leaving($b) <=> leaving($a) || $a cmp $b } grep { $left{"$at $_"} } @keks;
	($to) = grep { leaving($_) } @keks if !defined $to;
	delete $left{"$at $to"};
	$admin->query("SELECT envelope_enable_kek('$to')");
	is($admin->query("SELECT count(*), min(outcome), max(outcome) FROM rewrap_all('$at', '$to')"), '3|rewrapped|rewrapped', "$at to $to");
	is($admin->query("SELECT string_agg(DISTINCT kek, ' ') FROM envelope.wrapping WHERE superseded IS NULL"), $to, 'nothing is left behind');
	is(opened(), $all, 'and all opens');
	$at = $to;
}

sub leaving { my ($kek) = @_; return scalar grep { /^$kek / } keys %left; }

# A second region, and a second provider: three wrappings, of which any one opens.
$admin->query("SELECT envelope_enable_kek('$_')") for qw(aws1 far vault1);
$admin->query("SELECT count(*) FROM rewrap_all('$at', 'aws1')") if $at ne 'aws1';
for my $more (qw(far vault1))
{
	is($admin->query("SELECT count(*), min(outcome), max(outcome) FROM rewrap_all('aws1', '$more', keep_old => true)"), '3|rewrapped|rewrapped', "$more comes to aws1");
}
is($admin->query("SELECT string_agg(DISTINCT kek, ' ' ORDER BY kek) FROM envelope.wrapping WHERE superseded IS NULL"), 'aws1 far vault1', 'three live wrappings');
$aws->set(fail => { Decrypt => { status => 400, code => 'DisabledException' } });
is(opened(), $all, 'without AWS the wrapping of OpenBao opens');
$aws->set(fail => {});
$bao->seal;
is(opened(), $all, 'and without OpenBao those of AWS');
$bao->unseal;

# To a database of its own keyring they move where each section that they need admits theirs.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->create_extension('other');
$node->safe_psql('other', q{SET client_min_messages = error; SELECT envelope_create_kek('mine')});
my ($ours, $theirs) = map { $node->safe_psql($_, 'SELECT uuid FROM envelope.keyring') } qw(postgres other);
my $document = $admin->query(q{SELECT envelope_export_keyring('{k1}')});
my $import = "SELECT outcome FROM envelope_import_keyring(\$d\$$document\$d\$)";
for my $section (qw(corp near far))
{
	$node->configure_services("$dir/kms.conf", services($section => "allow_keyrings = $theirs\n"));
	my $err = $node->fails_with($import, 'KE010', "an import that section $section does not admit", dbname => 'other');
	like($err, qr/Section \[(?:vault|aws) $section\] of pg_envelope\.kms_config_file is not for data keys of the keyring $ours\. .*append ", $ours" to its line allow_keyrings/, 'which is named, with the keyring');
	is($node->safe_psql('other', 'SELECT (SELECT count(*) FROM envelope.kek), (SELECT count(*) FROM envelope.dek)'), '1|0', 'and nothing is written');
}
$node->configure_services("$dir/kms.conf", services(map { ($_ => "allow_keyrings = $theirs, $ours\n") } qw(corp near far)));
is($node->safe_psql('other', $import), 'imported', 'with its line it is imported');
is($node->safe_psql('other', q{SELECT string_agg(name, ' ' ORDER BY name) FROM envelope.kek}), 'aws1 far mine vault1', 'with the KEKs that were missing');
my $sealed = $admin->query(q{SELECT sealed FROM kept WHERE key_id = 'k1'});
is($node->safe_psql('other', "SELECT envelope_decrypt('$sealed', 'k1')"), 'value 1', 'and opens');

done_testing();
