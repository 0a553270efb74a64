# A tenant moves to another cluster by the commands that README has, and opens there;
# what stands against it is refused, with what to do, and leaves nothing.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../perl";
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my $config = "$dir/kms.conf";
PgEnvelope::Cluster::replace_file($config, "[local]\n");
my $source = PgEnvelope::Cluster->new('source');
my $target = PgEnvelope::Cluster->new('target', 'pg_envelope.kms_config_file' => $config);
my $table = 'CREATE TABLE customers (tenant text, id int, ssn bytea)';
my $open = q{SELECT envelope_cache_flush();
	SELECT string_agg(envelope_decrypt(ssn, tenant, envelope_bind('customers.ssn', id::text)), ',' ORDER BY id) FROM customers WHERE tenant = };
my $rows = q{SELECT (SELECT count(*) FROM envelope.kek), (SELECT count(*) FROM envelope.key), (SELECT count(*) FROM envelope.dek), (SELECT count(*) FROM envelope.wrapping)};

# Both have tenants, a KEK "main", and a key "shared" that are not the other's.
for my $node ($source, $target)
{
	my $name = $node->name;
	$node->safe_psql('postgres', "$table;" . q{
		SET client_min_messages = error;
		SELECT envelope_create_kek('main');
		SELECT envelope_create_key('shared', 'main');} . "
		SELECT envelope_create_key('of $name', 'main');
		INSERT INTO customers SELECT 'of $name', i, envelope_encrypt('$name ' || i, 'of $name', envelope_bind('customers.ssn', i::text)) FROM generate_series(1, 3) i");
}
$source->safe_psql('postgres', q{
	SET client_min_messages = error;
	SELECT envelope_create_kek('tenants');
	SELECT envelope_create_key('acme', 'tenants');
	INSERT INTO customers SELECT 'acme', i, envelope_encrypt('old ' || i, 'acme', envelope_bind('customers.ssn', i::text)) FROM generate_series(1, 3) i;
	SELECT envelope_rotate_kek('tenants'), envelope_rotate_key('acme');
	INSERT INTO customers SELECT 'acme', i, envelope_encrypt('new ' || i, 'acme', envelope_bind('customers.ssn', i::text)) FROM generate_series(4, 5) i;
	SELECT envelope_create_key('beta', 'tenants')});
my $uuid = $source->safe_psql('postgres', 'SELECT uuid FROM envelope.keyring');

# Without its KEK.
my $acme = document('acme');
my $before = $target->safe_psql('postgres', $rows);
my $err = $target->fails_with(importing($acme), 'KE012', 'a KEK that is not in this keyring');
like($err, qr/could not import KEK "tenants" \("local:/, 'is named');
is($target->safe_psql('postgres', $rows), $before, 'and nothing is written');

# What README says, in its words.
run_block($source, 'move source');
run_block($target, 'move target');
my $log = slurp_file("$dir/out");
like($log, qr/^\s*acme\s+\|\s+1 \| imported \|\s*\n\s*acme\s+\|\s+2 \| imported \|/m, 'both versions came');
like($log, qr/^\s*acme\s+\|\s+1 \|\s+\d+ \| retired\s+\|\s+3\n\s*acme\s+\|\s+2 \|\s+\d+ \| active\s+\|\s+2\n/m, 'and explain all values of his');
unlike($log, qr/unknown|malformed/, 'none is left unexplained');
ok(!-e "$dir/all.keyring", 'no copy of all KEKs is left');
is(opened($target, 'acme'), 'old 1,old 2,old 3,new 4,new 5', 'the tenant\'s values open at the target');
is(opened($target, 'of target'), 'target 1,target 2,target 3', 'those that were there, too');
is(opened($source, 'acme'), 'old 1,old 2,old 3,new 4,new 5', 'and at the source as before');
is($target->safe_psql('postgres', q{SELECT version, state, keyring = (SELECT uuid FROM envelope.keyring) FROM envelope.dek WHERE key_id = 'acme' ORDER BY 1}),
	"1|retired|f\n2|retired|f\n3|active|t", 'a new version is of the target\'s keyring');
is($target->safe_psql('postgres', qq{SELECT count(*) FROM envelope.dek WHERE key_id = 'acme' AND keyring = '$uuid'}), '2', 'the others are of the source\'s');
my $known = run_agent($target, 'list');
like($known, qr/\Q@{[ kek_uri($source, 'tenants') ]}\E/, 'the keyring has the KEK that was named');
unlike($known, qr/\Q@{[ kek_uri($source, 'main') ]}\E/, 'and not the one that was not');

# As if it had always been there.
$target->restart;
is(opened($target, 'acme'), 'old 1,old 2,old 3,new 4,new 5', 'they open after a restart');
is($target->safe_psql('postgres', q{SELECT DISTINCT outcome FROM rewrap_all('tenants', 'main')}), 'rewrapped', 'and move onto a KEK of the target');
is(opened($target, 'acme'), 'old 1,old 2,old 3,new 4,new 5', 'without a change');
is($target->safe_psql('postgres', importing($acme) =~ s/\*/outcome/r), "already\nalready", 'another import changes nothing of that');
is($target->safe_psql('postgres', q{SELECT DISTINCT kek FROM envelope.wrapping JOIN envelope.dek USING (dek_id) WHERE key_id = 'acme' AND superseded IS NULL}), 'main', 'indeed');

# What the configuration does not admit.
my $own = $target->safe_psql('postgres', 'SELECT uuid FROM envelope.keyring');
$target->configure_services($config, "[local]\nallow_keyrings = $own\n");
my $beta = document('beta');
$before = $target->safe_psql('postgres', $rows);
$err = $target->fails_with(importing($beta), 'KE010', 'a keyring that the section does not list');
like($err, qr/could not import version 1 of key "beta": KEK "tenants" does not open it/, 'the key');
like($err, qr/Section \[local\] of pg_envelope\.kms_config_file is not for data keys of the keyring $uuid\. .*append ", $uuid" to its line allow_keyrings/, 'its keyring, the section and the line are named');
is($target->safe_psql('postgres', $rows), $before, 'and nothing is written');
$target->configure_services($config, "[local]\nallow_keyrings = $own, $uuid\n");
is($target->safe_psql('postgres', importing($beta) =~ s/\*/outcome/r), 'imported', 'with that line it is');

# Names that are taken.
$err = $target->fails_with(importing(document('shared')), '42710', 'a key of the same name');
like($err, qr/cannot import key "shared": there is another key of this name/, 'is named');
like($err, qr/^HINT:.*At the source seal its values anew under a key of another name/m, 'with what to do');
my $main = kek_uri($source, 'main');
run_agent($source, 'backup', "$dir/main.backup");
run_agent($target, 'import', "$dir/main.backup", $main);
$err = $target->fails_with(importing(document('of source')), '42710', 'a KEK of the same name');
like($err, qr/cannot import KEK "main": there is another KEK of this name/, 'is named');
my ($advice) = $err =~ /(envelope_create_kek\('another name', '\Q$main\E'\))/;
ok(defined $advice, 'with what to do') or diag($err);
$target->safe_psql('postgres', "SELECT $advice");
is($target->safe_psql('postgres', importing(document('of source')) =~ s/\*/outcome/r), 'imported', 'which helps');
is($target->safe_psql('postgres', q{SELECT DISTINCT kek FROM envelope.wrapping JOIN envelope.dek USING (dek_id) WHERE key_id = 'of source'}), 'another name', 'under that name');

$_->stop for $source, $target;
done_testing();

sub document { my ($key) = @_; return $source->safe_psql('postgres', "SELECT envelope_export_keyring(ARRAY['$key'])"); }

sub importing { my ($document) = @_; return "SELECT * FROM envelope_import_keyring(\$document\$$document\$document\$)"; }

sub kek_uri { my ($node, $name) = @_; return $node->safe_psql('postgres', "SELECT uri FROM envelope.kek WHERE name = '$name'"); }

sub opened { my ($node, $tenant) = @_; return $node->safe_psql('postgres', "$open'$tenant'") =~ s/^\d+\n//r; }

sub run_agent
{
	my ($node, @arguments) = @_;
	my ($out, $err) = run_command([ $node->agent_command, 'keyring', @arguments, '--keyring', $node->keyring_file ]);
	is($?, 0, "keyring $arguments[0]") or diag($err);
	return $out;
}

# As an administrator of this node, whose keyring is where the command looks for it.
sub run_block
{
	my ($node, $name) = @_;
	my ($block) = $readme =~ /<!-- \Q$name\E -->\n```sh\n(.*?)```/s;
	ok(defined $block, "README has its $name") or return;
	my ($agent, $keyring) = ($node->agent_command, $node->keyring_file);
	my ($bin) = $agent =~ m{(.*)/};
	local $ENV{PATH} = "$bin:$ENV{PATH}";
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = 'postgres';
	my $script = "cd '$dir'; umask 077; pg_envelope_agent() { case \" \$* \" in *' --keyring '*) '$agent' \"\$\@\";; *) '$agent' \"\$\@\" --keyring '$keyring';; esac; }\n$block";
	my ($out, $err) = run_command([ 'bash', '-eu', '-o', 'pipefail', '-c', $script ]);
	is($?, 0, "README's $name") or diag("$out$err");
	append_to_file("$dir/out", $out);
	return;
}
