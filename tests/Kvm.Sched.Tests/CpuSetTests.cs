using FsCheck;
using FsCheck.Fluent;

namespace Kvm.Sched.Tests;

public class CpuSetTests
{
    [Fact]
    public void A_set_agrees_with_a_sorted_set()
    {
        var changes = (from cpu in Gen.Choose(0, 9_999) from add in Gen.Choose(0, 2) select (cpu, add: add > 0)).ListOf();
        Prop.ForAll(changes.ToArbitrary(), changes.ToArbitrary(), (list, others) =>
        {
            var (set, model) = Both(list);
            var (other, otherModel) = Both(others);
            var common = model.Intersect(otherModel).Order().ToList();
            return set.Count == model.Count && set.First == (model.Count > 0 ? model.Min : -1) && Walk(set).SequenceEqual(model)
                && set.FirstCommon(other, null) == common.FirstOrDefault(-1) && set.FirstCommon(null, other) == common.FirstOrDefault(-1)
                && set.FirstCommon(other, set) == common.FirstOrDefault(-1) && set.FirstCommon(null, null) == set.First
                && set.FirstCommon(other) == common.FirstOrDefault(-1) && set.CountCommon(other) == common.Count
                && set.Equals(other) == model.SetEquals(otherModel) && list.All(change => set.Contains(change.cpu) == model.Contains(change.cpu));
        }).QuickCheckThrowOnFailure();
    }

    [Theory]
    [InlineData("", "")]
    [InlineData("0-3,8", "0-3,8")]
    [InlineData("3,1,2", "1-3")]
    [InlineData(" 5 - 6 , 9 ", "")]
    [InlineData("4-2", null)]
    [InlineData("10", null)]
    [InlineData("0-99999999999", null)]
    [InlineData("-1", null)]
    [InlineData("a", null)]
    public void A_list_is_read_or_the_part_that_is_none_is_named(string text, string? expected)
    {
        bool read = CpuSet.TryParse(text, 10, out var set, out string? bad);
        if (expected is null or "" && text.Contains(' ', StringComparison.Ordinal))
        {
            (read, bad).Should().Be((false, "5 - 6"));
            return;
        }

        read.Should().Be(expected is not null);
        set?.ToString().Should().Be(expected);
        (bad is null).Should().Be(read);
    }

    private static (CpuSet Set, SortedSet<int> Model) Both(IEnumerable<(int Cpu, bool Add)> changes)
    {
        var (set, model) = (new CpuSet(10_000), new SortedSet<int>());
        foreach (var (cpu, add) in changes)
        {
            if (add)
            {
                set.Add(cpu);
                model.Add(cpu);
            }
            else
            {
                set.Remove(cpu);
                model.Remove(cpu);
            }
        }

        return (set, model);
    }

    private static IEnumerable<int> Walk(CpuSet set)
    {
        for (int cpu = set.Next(-1); cpu >= 0; cpu = set.Next(cpu))
            yield return cpu;
    }
}
