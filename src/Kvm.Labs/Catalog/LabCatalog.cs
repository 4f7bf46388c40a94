using System.Globalization;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Labs.Catalog;

/// <summary>All labs.</summary>
public static class LabCatalog
{
    /// <summary>The labs, by number.</summary>
    public static IReadOnlyList<Lab> All { get; } =
    [
        ModeLabs.FirstExit, ModeLabs.RunStructure, ModeLabs.ProtectedMode, ModeLabs.LongMode,
        MemoryLabs.Memory, ProcessorLabs.CpuidAndMsrs, ProcessorLabs.Interrupts, ProcessorLabs.Faults, ProcessorLabs.Multiprocessing,
        DeviceLabs.Virtqueue, MemoryLabs.DirtyPages, DeviceLabs.Virtualization, new SchedulingLab(), ManagerLab.Create(),
    ];

    /// <summary>The lab of a number or name.</summary>
    /// <exception cref="VmmException">There is none (KVM0040).</exception>
    public static Lab Find(string word)
    {
        ArgumentNullException.ThrowIfNull(word);
        bool isNumber = int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int number);
        var lab = All.FirstOrDefault(lab => isNumber ? lab.Number == number : lab.Name == word || lab.FileName == word);
        if (lab is not null)
            return lab;
        string near = NearestName.Find(word, All.Select(one => one.Name)) is { } name ? $"; did you mean {name}?" : $": there are 1 to {All.Count}";
        throw new VmmException(LabErrors.NoSuchLab, $"{VisibleText.Quote(word, 40)} is no lab{near}");
    }
}
