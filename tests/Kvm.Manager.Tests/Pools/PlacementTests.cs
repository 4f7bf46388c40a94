using FsCheck;
using FsCheck.Fluent;
using Kvm.Manager.Pools;

namespace Kvm.Manager.Tests.Pools;

public sealed class PlacementTests
{
    private const ulong GiB = 1 << 30;

    [Fact]
    public void A_file_goes_where_most_is_free_for_each_request_under_way()
    {
        Placement.Choose([new(0, 10 * GiB, 20 * GiB, 0), new(1, 12 * GiB, 20 * GiB, 0)], 0).Should().Be(1);
        Placement.Choose([new(0, 10 * GiB, 20 * GiB, 0), new(1, 12 * GiB, 20 * GiB, 3)], 0).Should().Be(0);
        Placement.Choose([new(0, 1 * GiB, 20 * GiB, 0), new(1, 12 * GiB, 20 * GiB, 100)], 2 * GiB).Should().Be(1);
        Placement.Choose([new(0, 1 * GiB, 20 * GiB, 0)], GiB).Should().BeNull("it would be full to the last byte");
        Placement.Choose([], 0).Should().BeNull();
    }

    [Fact]
    public void A_new_empty_folder_gets_its_share()
    {
        var files = Enumerable.Range(0, 10).Select(i => new MovableFile($"f{i}", 0, GiB)).ToList();
        var moves = Placement.Plan([new(0, 10 * GiB, 20 * GiB, 0), new(1, 20 * GiB, 20 * GiB, 0)], files);
        moves.Should().HaveCount(5).And.OnlyContain(move => move.Target == 1);
    }

    [Fact]
    public void Plans_end_and_leave_folders_more_even_than_they_were()
    {
        var gen = Gen.Choose(1, 1000).Two().ListOf(40).Select(list => list.ToList());
        Prop.ForAll(gen.ToArbitrary(), list =>
        {
            var files = list.Select((pair, i) => new MovableFile($"f{i}", pair.Item2 % 3, (ulong)pair.Item1 << 20)).ToList();
            var folders = Enumerable.Range(0, 3).Select(i => new FolderSpace(i, (100 * GiB) - (ulong)files.Where(f => f.Folder == i).Sum(f => (long)f.Bytes), 100 * GiB, 0)).ToList();
            var moves = Placement.Plan(folders, files);
            var after = files.Select(f => moves.Where(m => m.Image == f.Image).Select(m => f with { Folder = m.Target }).DefaultIfEmpty(f).Single()).ToList();
            return moves.Count <= files.Count && Spread(after) <= Spread(files);
        }).QuickCheckThrowOnFailure();

        static long Spread(List<MovableFile> files)
        {
            var sums = Enumerable.Range(0, 3).Select(i => files.Where(f => f.Folder == i).Sum(f => (long)f.Bytes)).ToList();
            return sums.Max() - sums.Min();
        }
    }
}
