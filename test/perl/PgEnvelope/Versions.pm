# Versions of the extension that nobody released, so that a test can update to them, and what
# the extension is made of in a database, so that it can compare.
#
#	my $bindir = PgEnvelope::Versions::server($root, 'pg_envelope--0.1.0--next.sql' => $text, ...);
#	local $ENV{PGE_BINDIR} = $bindir;	# a server that has these scripts besides
#	my $objects = PgEnvelope::Versions::objects($node, 'db');	# name => definition
#	my @differences = PgEnvelope::Versions::differences($objects, $others);
#
# SPDX-License-Identifier: PostgreSQL
package PgEnvelope::Versions;

use strict;
use warnings FATAL => 'all';

use File::Copy;
use PgEnvelope::Cluster;
use PostgreSQL::Test::Utils;

sub default_version
{
	my ($version) = slurp_file("$FindBin::RealBin/../../pg_envelope.control") =~ /^default_version = '(.+)'$/m;
	return $version;
}

# The text of a script of ours.
sub script { my ($name) = @_; return slurp_file("$FindBin::RealBin/../../$name"); }

# The server in PGE_BINDIR with more scripts beside those of the extension; its bindir.
sub server
{
	my ($root, %scripts) = @_;
	my $agent = "$ENV{PGE_BINDIR}/pg_envelope_agent";
	my @tools = map { "$ENV{PGE_BINDIR}/$_" } qw(pg_dump);
	my $bindir = PgEnvelope::Cluster::own_programs($root);
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
	chomp(my $sharedir = qx($pg_config --sharedir));
	my $from = readlink "$root$sharedir";
	unlink "$root$sharedir" or die $!;
	mkdir $_ or die $! for "$root$sharedir", "$root$sharedir/extension";
	symlink $_, "$root$sharedir/" . s{.*/}{}r for grep { !m{/extension$} } glob "$from/*";
	symlink $_, "$root$sharedir/extension/" . s{.*/}{}r for glob "$from/extension/*";
	PgEnvelope::Cluster::replace_file("$root$sharedir/extension/$_", $scripts{$_}) for keys %scripts;
	# (The agent is opened as a file: a link would do, but the tests look at its path.)
	for my $program ($agent, @tools)
	{
		copy($program, "$bindir/" . $program =~ s{.*/}{}r) or die "$program: $!";
		chmod 0755, "$bindir/" . $program =~ s{.*/}{}r;
	}
	return $bindir;
}

# Of the extension and its members, and of what goes with them, by name.
my $in_catalogs = q{
	WITH RECURSIVE part(classid, objid) AS (
		SELECT 'pg_extension'::regclass::oid, oid FROM pg_extension WHERE extname = 'pg_envelope'
		UNION
		SELECT d.classid, d.objid FROM pg_depend d JOIN part p ON d.refclassid = p.classid AND d.refobjid = p.objid AND d.deptype IN ('e', 'i', 'a', 'P', 'S')),
	depends AS (
		SELECT o.type || ' ' || o.identity AS name, 'depends ' || d.deptype::text || ' on ' || r.type || ' ' || r.identity AS what
		FROM pg_depend d JOIN part p USING (classid, objid), pg_identify_object(d.classid, d.objid, d.objsubid) o,
			pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) r)
	SELECT regexp_replace(name, 'pg_toast_\d+', 'pg_toast_N', 'g') || E'\t' || regexp_replace(what, 'pg_toast_\d+', 'pg_toast_N', 'g') FROM depends
	UNION
	SELECT 'mark for dumps ' || c::regclass || E'\tdumped ' || coalesce(extcondition[i], '') FROM pg_extension, unnest(extconfig) WITH ORDINALITY u(c, i) WHERE extname = 'pg_envelope'
	UNION
	SELECT E'extension pg_envelope\t' || concat_ws(' ', extowner::regrole, extnamespace::regnamespace, extrelocatable) FROM pg_extension WHERE extname = 'pg_envelope'
	ORDER BY 1};

# Every object that is a member of the extension, or part of one, by pg_dump's own words: in
# the mode of pg_upgrade it writes members out, with columns, defaults, constraints, indexes,
# triggers and whether they fire, settings, owners, rights and which of them are initial,
# comments and security labels.  What it says by numbers, or not at all, the catalogs say: the
# marks for dumps with their conditions, and who depends on whom.
sub objects
{
	my ($node, $dbname) = @_;
	my ($text, $err) = run_command([ $node->installed_command('pg_dump'), '--schema-only', '--binary-upgrade',
			'--exclude-schema=app', '-d', $node->connstr($dbname) ]);
	die $err if $err ne '';
	my %objects;
	for my $part (split /^(?=--\n-- Name: )/m, $text)
	{
		next unless $part =~ s/^--\n-- Name: (.*?); Type: ([^;]+); Schema: ([^;]+);.*\n--\n//;
		my ($name, $type, $schema) = ($1, $2, $3);
		$part =~ s/^(?:--.*|\\(?:un)?restrict .*)?\n//mg;
		# Numbers of objects, files and transactions, and how rows came to a column's default
		# (the columns are told); the extension's own are told below.
		$part =~ s/^SELECT pg_catalog\.binary_upgrade_(?:set_next_|set_missing_value|create_empty_extension).*\n//mg;
		$part =~ s/^UPDATE pg_catalog\.pg_class\s+SET relfrozenxid[^;]*;\n//mg;
		# (Rights stand in the order of their granting.)
		my @lines = split /\n/, $part;
		@lines = sort @lines if $type eq 'ACL';
		$objects{"$type $schema.$name"} .= join '', map { "$_\n" } @lines;
	}
	die 'pg_dump does not write the members out' unless exists $objects{'TABLE envelope.dek'};
	for (split /\n/, $node->safe_psql($dbname, $in_catalogs))
	{
		my ($name, $what) = split /\t/, $_, 2;
		$objects{$name} .= "$what\n";
	}
	return \%objects;
}

# What is not in both, or not the same, as lines that a reader understands.
sub differences
{
	my ($fresh, $updated) = @_;
	my @found;
	for my $name (sort keys %{ { %$fresh, %$updated } })
	{
		my ($one, $other) = ($fresh->{$name}, $updated->{$name});
		if (!defined $other) { push @found, "$name: only in a fresh install"; }
		elsif (!defined $one) { push @found, "$name: only after the update"; }
		elsif ($one ne $other)
		{
			my (%one, %other);
			$one{$_} = 1 for split /\n/, $one;
			$other{$_} = 1 for split /\n/, $other;
			push @found, "$name: fresh: " . join(' / ', grep { !$other{$_} } sort keys %one) . '; updated: ' . join(' / ', grep { !$one{$_} } sort keys %other);
		}
	}
	return @found;
}

1;
