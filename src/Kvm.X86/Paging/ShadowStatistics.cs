namespace Kvm.X86.Paging;

/// <summary>What shadow paging did on one processor, or on several added up (docs/engine.md, "Shadow paging").</summary>
public record struct ShadowStatistics
{
    /// <summary>Guest entries taken into shadow tables: each a fault in the shadow, and a walk of the guest's tables.</summary>
    public long Fills { get; set; }

    /// <summary>Translations that the shadow tables answered without a look at the guest's.</summary>
    public long Hits { get; set; }

    /// <summary>Times shadow tables were brought up to date (CR3 loads, INVLPG and other flushes).</summary>
    public long Syncs { get; set; }

    /// <summary>Shadow entries dropped because the guest's had been written.</summary>
    public long Dropped { get; set; }

    /// <summary>Writes to write-protected guest tables.</summary>
    public long WriteProtectHits { get; set; }

    /// <summary>Guest tables given up because they were written again and again: they are data by now.</summary>
    public long Floods { get; set; }

    /// <summary>Address spaces a shadow root was made for.</summary>
    public long Roots { get; set; }

    /// <summary>CR3 loads that found their root.</summary>
    public long RootHits { get; set; }

    /// <summary>Roots given up for others, and times all tables were given up for want of room.</summary>
    public long Evictions { get; set; }

    /// <summary>Shadow tables in use now.</summary>
    public long Tables { get; set; }

    /// <summary>Adds another processor's.</summary>
    public readonly ShadowStatistics Plus(ShadowStatistics other) => new()
    {
        Fills = Fills + other.Fills,
        Hits = Hits + other.Hits,
        Syncs = Syncs + other.Syncs,
        Dropped = Dropped + other.Dropped,
        WriteProtectHits = WriteProtectHits + other.WriteProtectHits,
        Floods = Floods + other.Floods,
        Roots = Roots + other.Roots,
        RootHits = RootHits + other.RootHits,
        Evictions = Evictions + other.Evictions,
        Tables = Tables + other.Tables,
    };
}
