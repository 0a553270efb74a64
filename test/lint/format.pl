#!/usr/bin/env perl
# Lays C files out as PostgreSQL's pgindent does, with pg_bsd_indent (Debian 12
# has it as pg-bsd-indent, later releases in postgresql-server-dev-*).
# usage: format.pl [--check] [FILE ...]   FILE: default, all of src and test
#        format.pl --typedefs             write typedefs.list anew, from a build
#
# --check changes nothing, names the files that would change, and fails if there
# are any.  pg_bsd_indent has to be told what the names of types are:
# typedefs.list has those of the objects' debug information that our files use.
#
# SPDX-License-Identifier: PostgreSQL
use strict;
use warnings FATAL => 'all';
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp;

my $here = dirname(abs_path($0));
my $top = abs_path("$here/../..");
my $list = "$here/typedefs.list";
my @options = qw(-bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l79
  -lp -lpl -nip -npro -sac -tpg -ts4);

my $mode = @ARGV && $ARGV[0] =~ /^--(check|typedefs)$/ ? do { shift; $1 } : 'write';
my @files = @ARGV ? @ARGV : all_files();
if ($mode eq 'typedefs')
{
	write_typedefs(@files);
	exit 0;
}
my $indent = find_indent() // do {
	print "SKIP: format needs pg_bsd_indent (apt-get install pg-bsd-indent, or a later release's postgresql-server-dev)\n";
	exit(($ENV{PGE_REQUIRE_ALL} // 0) eq '1' ? 1 : 77);
};
my %types = map { $_ => 1 } split /\n/, slurp($list);
my $scratch = File::Temp->newdir;
my $changed = 0;
for my $file (@files)
{
	my $was = slurp($file);
	my $is = formatted($was, $file);
	next if $is eq $was;
	$changed++;
	print $mode eq 'check' ? "not formatted: $file\n" : "formatted: $file\n";
	spew($file, $is) if $mode eq 'write';
}
print "make format lays them out\n" if $mode eq 'check' && $changed;
exit($mode eq 'check' && $changed ? 1 : 0);

sub all_files
{
	my @found = sort glob("$top/src/*.[ch] $top/src/*/*.[ch] $top/src/*/*/*.[ch] $top/test/*/*.[ch]");
	return grep { -f } @found;
}

sub find_indent
{
	for my $program ($ENV{PG_BSD_INDENT} // (), (map { "$_/pg_bsd_indent" } split /:/, $ENV{PATH}),
		reverse sort glob '/usr/lib/postgresql/*/bin/pg_bsd_indent')
	{
		return $program if -x $program;
	}
	return;
}

# pg_bsd_indent, and what pgindent does around it; until nothing moves, since its
# own output is not always what it would leave alone.
sub formatted
{
	my ($text, $name) = @_;
	for my $turn (1 .. 5)
	{
		my $again = once($text, $name);
		return $again if $again eq $text;
		$text = $again;
	}
	die "$name: the layout does not settle\n";
}

sub once
{
	my ($text, $name) = @_;

	# "text" is a type where the server's headers are, and a good name elsewhere.
	my %local = %types;
	delete $local{text} unless $text =~ /^#include "postgres\.h"/m && $text !~ /\btext(\+\+| \+=? |\[)/;
	spew("$scratch/types", join '', map { "$_\n" } sort keys %local);

	spew("$scratch/in.c", $text);
	my $status = system("'$indent' @options -U'$scratch/types' '$scratch/in.c' '$scratch/out.c' 2>'$scratch/err'");
	die "$name: " . slurp("$scratch/err") if $status != 0 || -s "$scratch/err";
	my $out = slurp("$scratch/out.c");

	# what is a type after all, in a parameter list
	$out =~ s/\btext \* (?=\w+[,)])/text */g if $text =~ /^#include "postgres\.h"/m;
	# ",.name = x" of an initializer
	$out =~ s/,\.(?=[a-z_]\w* =)/, ./g;
	# a function's return type stands alone on its line: one space before the star
	$out =~ s/^([A-Za-z_][\w ]*?)[ \t]+(\*+)$/$1 $2/gm;
	return $out;
}

sub write_typedefs
{
	my (@sources) = @_;
	my (%used, %known);
	for my $file (@sources)
	{
		my $text = slurp($file);
		$used{$_} = 1 for $text =~ /\b([A-Za-z_]\w*)\b/g;
		$known{$_} = 1 for $text =~ /^\}[ \t]*([A-Za-z_]\w*);/mg, $text =~ /^typedef\b[^;{]*?\(\*(\w+)\)/mg;
	}
	for my $object (map { "$top/$_" } qw(pg_envelope.so pg_envelope_agent))
	{
		open my $in, '-|', 'readelf', '--debug-dump=info', $object or die "readelf: $!\n";
		my $typedef = 0;
		while (<$in>)
		{
			$typedef = 1 if /DW_TAG_typedef/;
			$known{$1} = 1 if $typedef && /DW_AT_name.*: *(\w+)\s*$/;
			$typedef = 0 if /DW_AT_name/;
		}
		close $in or die "$object: readelf failed; run make first\n";
	}
	spew($list, join '', map { "$_\n" } sort grep { $used{$_} } keys %known);
	return;
}

sub slurp
{
	my ($file) = @_;
	open my $in, '<:raw', $file or die "$file: $!\n";
	local $/;
	my $text = <$in> // '';
	close $in or die "$file: $!\n";
	return $text;
}

sub spew
{
	my ($file, $text) = @_;
	open my $out, '>:raw', $file or die "$file: $!\n";
	print $out $text;
	close $out or die "$file: $!\n";
	return;
}
