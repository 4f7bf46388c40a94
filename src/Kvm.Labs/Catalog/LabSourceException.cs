using Kvm.Labs.Assembling;
using Kvm.Vmm;

namespace Kvm.Labs.Catalog;

/// <summary>A source with mistakes.</summary>
public sealed class LabSourceException : VmmException
{
    internal LabSourceException(string file, IReadOnlyList<SourceError> errors)
        : base(LabErrors.BadSource, errors.Count == 0 ? file : $"{file}:{errors[0]}")
    {
        Errors = errors;
        File = file;
    }

    /// <summary>Name of the file.</summary>
    public string File { get; }

    /// <summary>All mistakes, by line.</summary>
    public IReadOnlyList<SourceError> Errors { get; }
}
